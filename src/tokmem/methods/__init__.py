"""Methods that answer queries: TokMem is one among equals."""
