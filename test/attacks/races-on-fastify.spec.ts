import { describeRaces } from './races.js';

describeRaces('fastify');
