"""HTTP without the application: request heads, replies, CORS, proxies, counters.

Pure functions over bytes and headers wherever possible.

May import: errors, identity.
"""
