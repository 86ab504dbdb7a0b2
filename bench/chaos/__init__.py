"""What `bench/faults.py` is made of: a service on one machine, its peers, the faults, and the reckoning after each."""
