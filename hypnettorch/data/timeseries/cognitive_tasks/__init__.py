"""Twenty tasks by which the working memory and decisions of animals are studied."""
