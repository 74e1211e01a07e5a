// The page: asks for what the member has, shows it, and spends points.

import { Refused, ask, spend, unanswered } from "./ask.js";
import { WORDS } from "./words.js";

// Days are those of the shop, wherever the phone is.
const TIME_ZONE = "Africa/Luanda";
const CHANGING_MS = 3_000;
const byId = (id) => document.getElementById(id);

let language = localStorage.getItem("language") ?? preferredLanguage();
let words = WORDS[language];
let account = null;
let entries = [];
let nextCursor = null;
let chosen = null;
let isSpending = false;
let loads = 0;
// The message as a function: it is said anew in the other language.
let message = () => "";

function preferredLanguage() {
  return navigator.language.startsWith("pt") ? "pt" : "en";
}

// Numbers and days

function number(value) {
  return new Intl.NumberFormat(words.locale, { useGrouping: "always" }).format(value);
}

function signed(value) {
  const options = { useGrouping: "always", signDisplay: "exceptZero" };
  return new Intl.NumberFormat(words.locale, options).format(value);
}

function money(amount, currency) {
  const options = { style: "currency", currency, currencyDisplay: "code" };
  return new Intl.NumberFormat(words.locale, options).format(amount);
}

function day(instant) {
  const options = { dateStyle: "medium", timeZone: TIME_ZONE };
  return new Intl.DateTimeFormat(words.locale, options).format(instant);
}

/** The last day before an end, which is midnight as a rule. */
function lastDay(end) {
  return day(new Date(Date.parse(end) - 1));
}

// Showing. Texts are set as texts: nothing that comes from elsewhere becomes HTML.

function element(tag, className, ...content) {
  const made = document.createElement(tag);
  if (className) made.className = className;
  made.append(...content);
  return made;
}

function say(text, { isError = false, takesFocus = false } = {}) {
  message = text;
  const place = byId("message");
  place.classList.toggle("error", isError);
  place.textContent = text();
  if (takesFocus) place.focus();
}

function show() {
  document.documentElement.lang = language;
  document.title = `Água Twezah: ${words.title}`;
  for (const place of document.querySelectorAll("[data-word]")) {
    place.textContent = words[place.dataset.word];
  }
  byId("language").textContent = words.otherLanguage;
  byId("language").lang = language === "pt" ? "en" : "pt";
  byId("message").textContent = message();
  byId("account").hidden = account === null;
  if (account === null) return;
  showBalance();
  showTier();
  showPromotions();
  showRewards();
  showHistory();
}

function showBalance() {
  byId("balance").textContent = words.points(number(account.balance_points));
  const { available_points, held_points, pending_points, unpaid_points, expiring_next } = account;
  const notes = [words.available(number(available_points))];
  if (account.balance_points < 0) notes.push(words.belowZero);
  if (held_points) notes.push(words.held(number(held_points)));
  if (pending_points) notes.push(words.pending(number(pending_points)));
  if (unpaid_points) notes.push(words.unpaid(number(unpaid_points)));
  if (expiring_next) {
    const { points, expires_at } = expiring_next;
    notes.push(words.expiring(number(points), lastDay(expires_at)));
  }
  if (account.changing) notes.push(words.changing);
  byId("balance-notes").replaceChildren(...notes.map((note) => element("li", "", note)));
}

function showTier() {
  const { tier, tier_multiplier, tier_progress: progress } = account;
  byId("tier-name").textContent = tierName(tier);
  const earnsMore = tier_multiplier !== null && Number(tier_multiplier) !== 1;
  byId("tier-multiplier").textContent = earnsMore ? words.multiplier(number(tier_multiplier)) : "";
  byId("tier-bar").hidden = !progress?.next_tier;
  byId("tier-next").textContent = progress ? nextTier(progress) : "";
  byId("tier-keep").textContent = progress?.keep ? keepTier(progress) : "";
  if (!progress?.next_tier) return;
  const [reached, missing] = [Number(progress.reached), Number(progress.missing_to_next)];
  byId("tier-bar").max = Math.max(reached, 0) + missing || 1;
  byId("tier-bar").value = Math.max(reached, 0);
}

function nextTier(progress) {
  if (!progress.next_tier) return words.highest;
  return words.toNext(inMetric(progress.missing_to_next, progress), tierName(progress.next_tier));
}

function keepTier(progress) {
  const { missing, before, ends_at } = progress.keep;
  if (Number(missing) === 0) return words.isKept(lastDay(ends_at));
  return words.toKeep(inMetric(missing, progress), lastDay(before));
}

function inMetric(amount, { metric, currency }) {
  return metric === "spend" ? money(amount, currency) : words.points(number(amount));
}

function tierName(tier) {
  return tier.charAt(0).toUpperCase() + tier.slice(1);
}

function showPromotions() {
  byId("promotions").hidden = account.promotions.length === 0;
  const shown = account.promotions.map((promotion) => {
    const title = element("strong", "", promotion.title);
    const ends = promotion.ends_at ? ` ${words.promotionEnds(lastDay(promotion.ends_at))}` : "";
    return element("li", "", title, element("div", "", promotion.words[language] + ends));
  });
  byId("promotions-list").replaceChildren(...shown);
}

function showRewards() {
  const { balance_points, available_points } = account;
  const spendable = balance_points < 0 ? balance_points : available_points;
  const shown = account.rewards.map((reward) => {
    const title = reward.title[language];
    const missing = reward.points - spendable;
    const price = missing > 0 ? words.missing(number(missing)) : words.points(number(reward.points));
    const button = element("button", "", words.spend);
    button.type = "button";
    button.disabled = isSpending || missing > 0;
    button.setAttribute("aria-label", words.spendOn(title));
    button.addEventListener("click", () => askToConfirm(reward));
    const about = element("div", "", title, element("div", "soft", price));
    return element("li", "", about, button);
  });
  byId("rewards").replaceChildren(...shown);
}

function showHistory() {
  byId("history-empty").hidden = entries.length > 0;
  byId("more").hidden = nextCursor === null;
  byId("history").replaceChildren(...entries.map(movement));
}

function movement(entry) {
  const happened = element("div", "soft", day(new Date(entry.event_at)));
  const about = element("div", "", titleOf(entry), happened);
  const reasons = reasonsOf(entry).map((reason) => element("div", "", reason));
  const points = element("div", entry.points > 0 ? "added" : "", signed(entry.points));
  const balance = element("div", "soft", words.balanceAfter(number(entry.balance_points)));
  const moved = element("div", "number", points, balance);
  return element("li", "", about, moved, element("div", "reasons soft", ...reasons));
}

function kindOf({ kind, points, sale }) {
  if (kind === "expiry" && points > 0) return "expiry void";
  // Only whoever referred a friend has points of a sale without an amount.
  const isReward = sale && Number(sale.amount) === 0 && sale.due_after > 0;
  return isReward && kind !== "duplicate" ? "reward" : kind;
}

function titleOf(entry) {
  const kind = kindOf(entry);
  const title = words.kinds[kind] ?? words.kinds.other;
  const isOwnSale = entry.sale?.transaction_number && !["reward", "referral"].includes(kind);
  return isOwnSale ? `${title} ${entry.sale.transaction_number}` : title;
}

function reasonsOf({ sale, reason }) {
  if (!sale) return reason ? [reason] : [];
  const parts = sale.parts.filter((part) => part.points !== 0);
  const reasons = parts.map((part) => `${partOf(part, sale)}: ${signed(part.points)}`);
  if (sale.due_before !== 0) {
    reasons.unshift(words.instead(number(sale.due_before), number(sale.due_after)));
  }
  if (sale.pending) reasons.push(whenSpendable(sale.pending));
  return reasons;
}

function whenSpendable({ points, available_at, awaits_payment }) {
  const conditions = [];
  if (awaits_payment) conditions.push(words.oncePaid);
  if (available_at) conditions.push(words.fromDay(day(new Date(available_at))));
  const listed = new Intl.ListFormat(words.locale).format(conditions);
  return words.spendableOnly(number(points), listed);
}

function partOf({ rule, words: promotion }, sale) {
  if (rule === "base") return words.base(money(sale.amount, sale.currency));
  if (rule === "tier") return words.ofTier(tierName(sale.tier));
  return rule.startsWith("counted at ") ? words.elsewhere : promotion;
}

// Asking

/** Asks for all that is shown, and shows it. Throws Refused. */
async function load() {
  const load = ++loads; // the answers of an earlier load may come later
  const told = await Promise.all([ask("/api/account"), ask("/api/history")]);
  if (load !== loads) return;
  account = told[0];
  ({ items: entries, next_cursor: nextCursor } = told[1]);
  show();
  if (account.changing) setTimeout(loadIfSeen, CHANGING_MS);
}

/** Nobody asked for it: what cannot be loaded stays as it is shown, and so does the message. */
async function loadQuietly() {
  await load().catch((error) => {
    if (!(error instanceof Refused)) throw error;
  });
}

function loadIfSeen() {
  if (document.visibilityState === "visible" && !isSpending) loadQuietly();
}

async function refresh() {
  say(() => words.loading);
  try {
    await load();
    say(() => "");
  } catch (error) {
    sayRefused(error);
  }
}

async function loadMore() {
  const load = loads;
  byId("more").disabled = true;
  try {
    const told = await ask(`/api/history?cursor=${encodeURIComponent(nextCursor)}`);
    if (load !== loads) return; // it was loaded anew meanwhile, from the first page on
    entries = [...entries, ...told.items];
    nextCursor = told.next_cursor;
    showHistory();
  } catch (error) {
    sayRefused(error);
  } finally {
    byId("more").disabled = false;
  }
}

function sayRefused(error, options = {}) {
  if (!(error instanceof Refused)) throw error;
  const { balance_points, available_points } = error.told;
  const code = error.code === "wait" && options.ofSpending ? "spendWait" : error.code;
  const text = () => {
    const errors = words.errors;
    return (errors[code] ?? errors.out_of_order)(number(balance_points), number(available_points));
  };
  say(text, { isError: true, takesFocus: options.ofSpending });
}

// Spending

function askToConfirm(reward) {
  chosen = reward;
  const left = account.available_points - reward.points;
  byId("confirm-title").textContent = words.confirm(reward.title[language], number(reward.points));
  byId("confirm-left").textContent = words.left(number(left));
  byId("confirm").showModal();
}

async function spendOn(reward) {
  if (isSpending) return; // a second tap
  isSpending = true;
  showRewards();
  byId("confirm").close();
  say(() => words.isSpending, { takesFocus: true });
  try {
    const done = await spend(reward.reward_id, language, () => say(() => words.isWaiting));
    say(() => words.spent(reward.title[language], done.code), { takesFocus: true });
  } catch (error) {
    sayRefused(error, { ofSpending: true });
  } finally {
    isSpending = false;
    showRewards();
  }
  await loadQuietly(); // whatever came of it, the balance may have changed
}

/** What was under way when the page was left: it is asked for again, as the same request. */
async function resume() {
  for (const rewardId of Object.keys(unanswered())) {
    const reward = account?.rewards.find(({ reward_id }) => reward_id === rewardId);
    if (reward) await spendOn(reward);
  }
}

byId("language").addEventListener("click", () => {
  language = language === "pt" ? "en" : "pt";
  words = WORDS[language];
  localStorage.setItem("language", language);
  show();
});
byId("refresh").addEventListener("click", refresh);
byId("more").addEventListener("click", loadMore);
byId("confirm-yes").addEventListener("click", () => spendOn(chosen));
byId("confirm-no").addEventListener("click", () => byId("confirm").close());
document.addEventListener("visibilitychange", loadIfSeen);
window.addEventListener("online", loadIfSeen);

show();
await refresh();
await resume();
