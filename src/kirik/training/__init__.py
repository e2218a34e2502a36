"""Training: networks, augmentation and balancing, the loop, export. The only room with torch."""
