"""What `trimtab` takes, one command or group a file: options declared, the use case called, its answer printed."""
