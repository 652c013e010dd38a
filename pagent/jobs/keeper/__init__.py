"""The keeper: a small program that starts, watches and reaps the processes of jobs.

It imports the standard library only, so that it forks few pages. It has no threads, and none of the agent's environment
or descriptors. Three kinds of processes run it:

* The *keeper* (``main``), one for each agent. For each descriptor that it receives it forks a supervisor with that as
  its control socket. When the agent has ended, for whatever reason, the keeper ends all jobs and then itself.
* A *supervisor* (``supervisor``), one for each job. It starts the processes that the agent requests, reports how
  they end, reaps, and ends when it has no child left.
* A *child* (``execution``), which confines itself and becomes a program of the job. Only the child reads data
  of a peer.

Keeper and supervisors are subreapers (``PR_SET_CHILD_SUBREAPER``, prctl(2)). A process of a job whose parent ends
becomes a child of the job's supervisor. If the supervisor is killed, its children become children of the keeper. So
every descendant of a supervisor is of its job, and every descendant of the keeper is of a job, daemons included.

The cost of a start is mostly that of the pages that the new processes copy. Each object that is touched after a fork is
part of one. So what runs after a fork calls functions written in C, and not those of the library that are in Python.
"""
