// Requests to our backend: repeated when they may be, and each spending once.

const ATTEMPTS_MAX = 5;
// Who is asked to wait for longer than this is told so, and asks again by themselves.
const WAIT_SECONDS_MAX = 30;
const WAIT_SECONDS = 3;
const ANSWER_MS_MAX = 30_000;
// A spending that was not answered is still repeated for so long, also after a reload of the page.
const UNANSWERED_MS_MAX = 10 * 60_000;
const UNANSWERED = "unanswered";
// Refusals that do not say whether an earlier attempt of the same spending was done.
const UNDECIDED = ["wait", "out_of_order"];

/** What the backend refused; `code` says why. */
export class Refused extends Error {
  constructor(code, told = {}) {
    super(code);
    this.code = code;
    this.told = told;
  }
}

/** What the backend tells. Waits and asks again where it has to. Throws Refused. */
export async function ask(path, options = {}, onWait = () => {}) {
  for (let attempt = 1; ; attempt += 1) {
    const { told, waitSeconds } = await askedOnce(path, options);
    if (told) return told;
    if (attempt === ATTEMPTS_MAX || waitSeconds > WAIT_SECONDS_MAX) throw new Refused("wait");
    onWait();
    await new Promise((resume) => setTimeout(resume, waitSeconds * 1000));
  }
}

async function askedOnce(path, options) {
  let response, told;
  try {
    const signal = AbortSignal.timeout(ANSWER_MS_MAX);
    response = await fetch(path, { ...options, signal });
    told = await response.json();
  } catch {
    return { waitSeconds: WAIT_SECONDS }; // no network, or an answer that was lost on the way
  }
  if (response.ok) return { told };
  if (told.code !== "wait") throw new Refused(told.code ?? "out_of_order", told);
  return { waitSeconds: Number(response.headers.get("Retry-After")) || WAIT_SECONDS };
}

/** Spends points on a reward. Throws Refused. */
export async function spend(rewardId, language, onWait) {
  // The key and all that it stands for are made and kept before the request is sent. Whatever then
  // happens to it, it is repeated as the same one, and the API knows it again.
  const spending = unanswered()[rewardId] ?? {
    key: crypto.randomUUID(),
    body: JSON.stringify({ reward_id: rewardId, language }),
    at: Date.now(),
  };
  keep({ ...unanswered(), [rewardId]: spending });
  const headers = { "Content-Type": "application/json", "Idempotency-Key": spending.key };
  try {
    const done = await ask("/api/spend", { method: "POST", headers, body: spending.body }, onWait);
    forget(rewardId);
    return done;
  } catch (error) {
    if (!UNDECIDED.includes(error.code)) forget(rewardId);
    throw error;
  }
}

/** The spendings that were sent and not answered, by reward. */
export function unanswered() {
  const kept = JSON.parse(sessionStorage.getItem(UNANSWERED) ?? "{}");
  const isYoung = ([, { at }]) => Date.now() - at < UNANSWERED_MS_MAX;
  return Object.fromEntries(Object.entries(kept).filter(isYoung));
}

function keep(spendings) {
  sessionStorage.setItem(UNANSWERED, JSON.stringify(spendings));
}

function forget(rewardId) {
  const { [rewardId]: _, ...others } = unanswered();
  keep(others);
}
