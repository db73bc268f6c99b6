"""The commands, by what they are about. Heavy imports wait until one is called."""
