"""An application whose users have UUIDs for keys, as an embedding project may."""
