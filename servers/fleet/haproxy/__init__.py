"""An HAProxy of the user's before the replicas of a fleet, kept in step by its runtime API. Starts no HAProxy.

Requests go from HAProxy to the replicas and do not pass our balancer. One backend of HAProxy is the fleet's alone: each
of its servers is a slot (`server-template`), in maintenance until a replica takes it. Slots, because `add server` wants
checks, timeouts and limits in the command, where those of a slot stand in the user's configuration; and `del server` is
refused while a connection to it is open.

    `runtime`   one command, one answer, within a time limit
    `servers`   what HAProxy reports of its servers
    `commands`  what it is told, and which answers mean yes
    `plan`      from what it has and what the fleet wants to commands
    `keeper`    the loop: look, plan, tell; away and back
"""
