"""What triggers cost: how soon a file is with its handler, how many requests a second are durable."""
