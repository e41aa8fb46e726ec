"""Which environment a name stands for, how it is made, tried and stepped."""
