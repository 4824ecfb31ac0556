/** Settings of fine-tuning unless said otherwise; why these: docs/performance-finetune.md. */
export const fineTuneDefaults = { minutes: 10, rank: 8, rate: 1e-3 } as const;
