"""What `compile`, `fold` and `scan` are made of: a step is traced, lowered to tasks, tried and replayed.

- `tracing` runs a step once and returns its `trace`: calls of `nn` on values, and who uses each value.
- `lower` turns a trace into tasks by the rules of a backend; `stages` finds what threads can share.
- A backend makes a `program` of them. `trial` runs it on copies, and `replayed` decides when to trust it.
- `captured` watches what a step reaches besides its arguments.
- `foreign` does so for steps that another library compiles.
"""
