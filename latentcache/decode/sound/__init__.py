"""The sound of a clip's window, from a file to samples."""
