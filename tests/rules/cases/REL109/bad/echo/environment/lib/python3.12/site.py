# stands for the whole library
