// Conversations in the browser's database.

import { type DBSchema, type IDBPDatabase, openDB } from "idb";

import type { Conversation } from "./conversation";

interface Schema extends DBSchema {
  conversations: { key: string; value: Conversation; indexes: { updated: number } };
}

let database: Promise<IDBPDatabase<Schema>> | undefined;

const open = () =>
  (database ??= openDB<Schema>("smallmind", 1, {
    upgrade(created) {
      created.createObjectStore("conversations", { keyPath: "id" }).createIndex("updated", "updated");
    },
  }));

/** All conversations, the latest first. */
export async function readAll(): Promise<Conversation[]> {
  const all = await (await open()).getAllFromIndex("conversations", "updated");
  return all.reverse();
}

export async function write(conversation: Conversation) {
  await (await open()).put("conversations", conversation);
}

export async function remove(id: string) {
  await (await open()).delete("conversations", id);
}
