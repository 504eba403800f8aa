"""From video to people: decoding, background, tracks, aligned silhouettes."""
