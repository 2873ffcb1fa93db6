"""The encode actor: owner of an encoder, of units and of decode calls."""
