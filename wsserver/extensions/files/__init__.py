"""Files: resumable uploads by tus 1.0.0, downloads, and messages that are files."""
