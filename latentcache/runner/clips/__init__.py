"""What is special of long clips: decoded by an actor and encoded a group of frames at a time."""
