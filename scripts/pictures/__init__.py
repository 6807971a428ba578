"""Pictures of the console's pages, taken in Chromium of a server with a month of made-up data."""
