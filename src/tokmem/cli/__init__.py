"""The command `tokmem`: one file per command, nothing that the library could do."""
