"""Published suites: a card and a loader each, from the user's folder to scenes."""
