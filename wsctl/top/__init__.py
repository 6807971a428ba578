"""``wsctl top``: a model of what the server says, a layout of it, and a terminal to show it on."""
