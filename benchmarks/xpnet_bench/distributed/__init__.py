"""``xpnet bench --distributed``: what more processes bring, measured on those that there are, and modelled."""
