"""What a paper's author writes with; also errors and the wording of numbers, which every room needs."""
