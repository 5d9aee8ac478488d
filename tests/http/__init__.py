"""What HTTP and WSGI are for flaskd's engines: one table of cases, run against each of them and beside other servers."""
