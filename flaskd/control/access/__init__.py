"""Access control: who a caller is, which role it has, and who may open the sockets."""
