/** Settings of fine-tuning unless said otherwise: usual values for low-rank adaptation, not yet compared with others here. */
export const fineTuneDefaults = { minutes: 10, rank: 8, rate: 1e-3 } as const;
