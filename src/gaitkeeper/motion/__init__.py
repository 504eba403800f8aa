"""What a movement is: batches of silhouettes and skeletons, and their preparation."""
