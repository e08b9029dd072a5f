"""The designs in virtual time: the policies that the servers use, a heap instead of a loop. Nothing is sent."""
