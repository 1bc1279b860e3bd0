import { describeRaces } from './races.js';

describeRaces('express');
