"""The encode actor: owner of encoders, of units and of decode calls."""
