"""Building images on this machine's Docker, and pushing them to a registry.

    Dockerfile, options ─► read() ─► Request ─► build() ─► Built
                          (checked)  (frozen)   (events while it goes on)

A request is checked wholly before the engine hears of it. What the engine reports while it works
becomes events; nothing here prints.
"""
