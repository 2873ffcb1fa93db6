"""The vocabulary that all stages share; standard library only."""
