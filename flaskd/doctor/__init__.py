"""`flaskd doctor`: compare the timeouts of an instance with those of the programs around it.

A stop loses no request only if everything around the instance waits longer than the instance itself: systemd, the kubelet and
Docker kill it when their own timeout is over, and a balancer sends requests until it notices the stop. Each of them has its
numbers in a file of its own.

`examine` reads the files into `facts` (one reader for each kind: `unit`, `kubernetes`, `stack`, `haproxy`, `nginx`), with the
settings that the file gives `flaskd run` on its command line or in its environment. `rules` is the table of problems: pure
functions from facts to sentences. Nothing is changed; the only program that is run is `systemctl show`.
"""

from flaskd.doctor.examine import Examination, examine

__all__ = ["Examination", "examine"]
