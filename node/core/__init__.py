"""The pure core: no I/O, no clock, no chance; its packages do not know each other, except that all may use `machine`."""
