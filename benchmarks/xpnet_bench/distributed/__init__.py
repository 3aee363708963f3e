"""``xpnet bench --distributed``: what more processes bring, measured on those there are, and modelled."""
