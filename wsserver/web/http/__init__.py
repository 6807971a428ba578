"""HTTP without the application: heads, replies, CORS, proxies, descriptors.

Pure functions over bytes and headers wherever possible.

May import: errors, identity.
"""
