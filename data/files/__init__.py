"""Files that users bring: sound, video and csv labels."""
