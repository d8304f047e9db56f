"""What a trained network looks at: class pictures, attribution, nearest training cells."""
