//! The tables, as diesel sees both databases.

diesel::table! {
    users (id) {
        id -> Text,
        realm -> Text,
        name -> Nullable<Text>,
        created_at -> BigInt,
    }
}

diesel::table! {
    identities (realm, address) {
        realm -> Text,
        address -> Text,
        user_id -> Text,
        upstream_id -> Nullable<Text>,
        created_at -> BigInt,
        last_login_at -> Nullable<BigInt>,
    }
}

diesel::table! {
    challenges (id) {
        id -> Text,
        dialect -> Text,
        purpose -> Text,
        app_id -> Text,
        realm -> Text,
        address -> Text,
        secret_hash -> Nullable<Binary>,
        key_id -> Text,
        salt -> Binary,
        slots -> Binary,
        version -> Integer,
        guesses -> Integer,
        repeats -> Integer,
        created_at -> BigInt,
        expires_at -> BigInt,
        consumed_at -> Nullable<BigInt>,
        code_hash -> Nullable<Binary>,
        user_id -> Nullable<Text>,
        is_new_user -> Bool,
        grant_hash -> Nullable<Binary>,
        grant_expires_at -> BigInt,
        lease_until -> BigInt,
        minted_at -> Nullable<BigInt>,
        ended_at -> Nullable<BigInt>,
        channel -> Nullable<Text>,
    }
}

diesel::table! {
    deliveries (id) {
        id -> Text,
        challenge_id -> Text,
        address -> Text,
        channel -> Text,
        network -> Text,
        status -> Text,
        provider -> Nullable<Text>,
        provider_id -> Nullable<Text>,
        error -> Nullable<Text>,
        created_at -> BigInt,
        deadline_at -> BigInt,
        updated_at -> BigInt,
        locale -> Text,
        resend_of -> Nullable<Text>,
        due_at -> Nullable<BigInt>,
        reported_at -> Nullable<BigInt>,
        failed_providers -> Nullable<Text>,
        early_reports -> Nullable<Text>,
    }
}

diesel::table! {
    provider_state (provider) {
        provider -> Text,
        state -> Text,
        until -> BigInt,
        changed_at -> BigInt,
    }
}

diesel::table! {
    provider_outcomes (provider, country, hour) {
        provider -> Text,
        country -> Text,
        hour -> BigInt,
        sent -> BigInt,
        verified -> BigInt,
    }
}

diesel::table! {
    guards (realm, address) {
        realm -> Text,
        address -> Text,
        failures -> Integer,
        comparisons -> Integer,
        next_guess_at -> BigInt,
        updated_at -> BigInt,
    }
}

diesel::table! {
    budgets (key) {
        key -> Text,
        arrival -> BigInt,
        total_arrival -> BigInt,
        ready_at -> BigInt,
    }
}

diesel::table! {
    sessions (id) {
        id -> Text,
        user_id -> Text,
        realm -> Text,
        app_id -> Text,
        dialect -> Text,
        address -> Text,
        challenge_id -> Text,
        channel -> Nullable<Text>,
        label -> Nullable<Text>,
        network -> Text,
        created_at -> BigInt,
        last_used_at -> BigInt,
        expires_at -> BigInt,
        family -> Nullable<Binary>,
        refresh_hash -> Nullable<Binary>,
        previous_hash -> Nullable<Binary>,
        successor -> Nullable<Binary>,
        rotated_at -> Nullable<BigInt>,
        chat_token_hash -> Nullable<Binary>,
        ended_at -> Nullable<BigInt>,
        ended_why -> Nullable<Text>,
    }
}

diesel::table! {
    audit (id) {
        id -> BigInt,
        at -> BigInt,
        event -> Text,
        realm -> Nullable<Text>,
        app_id -> Nullable<Text>,
        address -> Nullable<Text>,
        challenge_id -> Nullable<Text>,
        user_id -> Nullable<Text>,
        network -> Nullable<Text>,
        detail -> Nullable<Text>,
    }
}

diesel::allow_tables_to_appear_in_same_query!(users, identities);
diesel::allow_tables_to_appear_in_same_query!(challenges, guards, identities, sessions);
