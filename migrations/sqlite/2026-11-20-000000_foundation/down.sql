DROP TABLE audit;
DROP TABLE budgets;
DROP TABLE guards;
DROP TABLE deliveries;
DROP TABLE challenges;
DROP TABLE identities;
DROP TABLE users;
