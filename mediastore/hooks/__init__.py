"""Messages to the app: how they are sent and signed. Knows no database."""
