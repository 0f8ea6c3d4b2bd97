"""What is known of a member now. One writer, the health loop; every other part reads it."""
