"""The server and wsctl as operators run them: real processes, real files, real sockets."""
