"""What driver, actors and decode processes tell each other: plain values and protocols."""
