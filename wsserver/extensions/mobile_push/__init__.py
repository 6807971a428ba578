"""Push platforms of phones: Apple's APNs, Google's FCM, and JPush, for the channel ``push``."""
