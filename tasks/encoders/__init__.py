"""Page and query encoders behind one protocol."""
